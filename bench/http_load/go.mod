module peekaping-producer/bench/http_load

go 1.22

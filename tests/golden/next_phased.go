// Prints next_phased.jsonl: go run tests/golden/next_phased.go > tests/golden/next_phased.jsonl
package main

import (
	"encoding/json"
	"hash/crc32"
	"os"
	"strings"
)

type vector struct {
	ID        string `json:"id"`
	IntervalS int64  `json:"interval_s"`
	CRC32     uint32 `json:"crc32"`
	PhaseS    int64  `json:"phase_s"`
	NowMS     int64  `json:"now_ms"`
	NextMS    int64  `json:"next_ms"`
}

func main() {
	ids := []string{
		"3f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04", "3F0D5A9E-1C61-4B8E-9A50-7E1F2B6C9D04", "507f1f77bcf86cd799439011",
		"01934f6e-8b7a-7c3d-9e2f-1a2b3c4d5e6f", "00000000-0000-0000-0000-000000000000", "m1", "", "Ärger",
	}
	out := json.NewEncoder(os.Stdout)
	for _, id := range ids {
		sum := crc32.ChecksumIEEE([]byte(strings.ToLower(id)))
		for _, interval := range []int64{1, 7, 20, 60, 3600, 86400, 604800} {
			period, phase := interval*1000, int64(sum)%interval*1000
			base := 1_800_000_000_000 / period * period
			for _, now := range []int64{base, base + phase - 1, base + phase, base + phase + 1, base + period - 1} {
				next := ((now-phase)/period+1)*period + phase
				out.Encode(vector{id, interval, sum, phase / 1000, now, next})
			}
		}
	}
}

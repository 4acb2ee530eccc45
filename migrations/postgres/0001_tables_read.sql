-- The five tables that the producer reads, named, typed and indexed as the API server's own migrations leave them.

CREATE TABLE proxies (
    id uuid PRIMARY KEY,
    protocol varchar(10) NOT NULL,
    host varchar(255) NOT NULL,
    port integer NOT NULL,
    auth boolean NOT NULL DEFAULT false,
    username varchar(255),
    password varchar(255),
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_proxies_host_port ON proxies (host, port);

CREATE TABLE monitors (
    id uuid PRIMARY KEY,
    type varchar(20) NOT NULL,
    name varchar(150) NOT NULL,
    interval integer NOT NULL, -- seconds, like the next four
    timeout integer NOT NULL,
    max_retries integer NOT NULL,
    retry_interval integer NOT NULL,
    resend_interval integer NOT NULL,
    active boolean NOT NULL DEFAULT true,
    status integer NOT NULL DEFAULT 0, -- 0 down, 1 up, 2 pending, 3 maintenance
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    config jsonb,
    proxy_id uuid REFERENCES proxies (id) ON DELETE SET NULL,
    push_token varchar(255)
);
CREATE INDEX idx_monitors_active_status ON monitors (active, status);
CREATE INDEX idx_monitors_proxy_id ON monitors (proxy_id);

CREATE TABLE maintenances (
    id uuid PRIMARY KEY,
    title varchar(255) NOT NULL,
    description text,
    active boolean NOT NULL DEFAULT true,
    strategy varchar(50) NOT NULL,
    start_date_time varchar(50),
    end_date_time varchar(50),
    start_time varchar(50),
    end_time varchar(50),
    weekdays text, -- JSON
    days_of_month text, -- JSON
    interval_day integer,
    cron varchar(255),
    timezone varchar(100),
    duration integer, -- minutes
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_maintenances_active ON maintenances (active);

CREATE TABLE monitor_maintenances (
    id uuid PRIMARY KEY,
    monitor_id uuid NOT NULL REFERENCES monitors (id) ON DELETE CASCADE,
    maintenance_id uuid NOT NULL REFERENCES maintenances (id) ON DELETE CASCADE,
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    UNIQUE (monitor_id, maintenance_id)
);

CREATE TABLE heartbeats (
    id uuid PRIMARY KEY,
    monitor_id uuid NOT NULL REFERENCES monitors (id) ON DELETE CASCADE,
    status integer NOT NULL, -- 0 down, 1 up, 2 pending, 3 maintenance
    msg text,
    ping integer,
    duration integer,
    down_count integer,
    retries integer,
    important boolean NOT NULL DEFAULT false,
    time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    end_time timestamp,
    notified boolean NOT NULL DEFAULT false
);
CREATE INDEX idx_heartbeats_monitor_time ON heartbeats (monitor_id, time);
CREATE INDEX idx_heartbeats_monitor_important ON heartbeats (monitor_id, important);
CREATE INDEX idx_heartbeats_monitor_time_important ON heartbeats (monitor_id, time, important);
CREATE INDEX idx_heartbeats_status ON heartbeats (status);
CREATE INDEX idx_heartbeats_important ON heartbeats (important);

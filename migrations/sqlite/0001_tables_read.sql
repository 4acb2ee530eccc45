-- The five tables that the producer reads, named, typed and indexed as the API server's own migrations leave them.

CREATE TABLE proxies (
    id UUID PRIMARY KEY,
    protocol VARCHAR(10) NOT NULL,
    host VARCHAR(255) NOT NULL,
    port INTEGER NOT NULL,
    auth BOOLEAN NOT NULL DEFAULT false,
    username VARCHAR(255),
    password VARCHAR(255),
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_proxies_host_port ON proxies (host, port);

CREATE TABLE monitors (
    id UUID PRIMARY KEY,
    type VARCHAR(20) NOT NULL,
    name VARCHAR(150) NOT NULL,
    interval INTEGER NOT NULL, -- seconds, like the next four
    timeout INTEGER NOT NULL,
    max_retries INTEGER NOT NULL,
    retry_interval INTEGER NOT NULL,
    resend_interval INTEGER NOT NULL,
    active BOOLEAN NOT NULL DEFAULT true,
    status INTEGER NOT NULL DEFAULT 0, -- 0 down, 1 up, 2 pending, 3 maintenance
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    config JSONB,
    proxy_id UUID REFERENCES proxies (id) ON DELETE SET NULL,
    push_token VARCHAR(255)
);
CREATE INDEX idx_monitors_active_status ON monitors (active, status);
CREATE INDEX idx_monitors_proxy_id ON monitors (proxy_id);

CREATE TABLE maintenances (
    id UUID PRIMARY KEY,
    title VARCHAR(255) NOT NULL,
    description TEXT,
    active BOOLEAN NOT NULL DEFAULT true,
    strategy VARCHAR(50) NOT NULL,
    start_date_time VARCHAR(50),
    end_date_time VARCHAR(50),
    start_time VARCHAR(50),
    end_time VARCHAR(50),
    weekdays TEXT, -- JSON
    days_of_month TEXT, -- JSON
    interval_day INTEGER,
    cron VARCHAR(255),
    timezone VARCHAR(100),
    duration INTEGER, -- minutes
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_maintenances_active ON maintenances (active);

CREATE TABLE monitor_maintenances (
    id UUID PRIMARY KEY,
    monitor_id UUID NOT NULL REFERENCES monitors (id) ON DELETE CASCADE,
    maintenance_id UUID NOT NULL REFERENCES maintenances (id) ON DELETE CASCADE,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    UNIQUE (monitor_id, maintenance_id)
);

CREATE TABLE heartbeats (
    id UUID PRIMARY KEY,
    monitor_id UUID NOT NULL REFERENCES monitors (id) ON DELETE CASCADE,
    status INTEGER NOT NULL, -- 0 down, 1 up, 2 pending, 3 maintenance
    msg TEXT,
    ping INTEGER,
    duration INTEGER,
    down_count INTEGER,
    retries INTEGER,
    important BOOLEAN NOT NULL DEFAULT false,
    time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    end_time TIMESTAMP,
    notified BOOLEAN NOT NULL DEFAULT false
);
CREATE INDEX idx_heartbeats_monitor_time ON heartbeats (monitor_id, time);
CREATE INDEX idx_heartbeats_monitor_important ON heartbeats (monitor_id, important);
CREATE INDEX idx_heartbeats_monitor_time_important ON heartbeats (monitor_id, time, important);
CREATE INDEX idx_heartbeats_status ON heartbeats (status);
CREATE INDEX idx_heartbeats_important ON heartbeats (important);

-- The five tables that the producer reads, named as the API server's own migrations name them for other databases.
-- It has none for MySQL, so types and collations are chosen here: ids are lower-case text, compared byte by byte; every
-- DATETIME is in UTC, whatever the zone of server or session; times have microseconds, as Go writes them. Requires MySQL
-- 8.0.13 (DEFAULT with an expression) or MariaDB 10.2; the same under every sql_mode. Each statement may be repeated,
-- since none of them can be rolled back: run this again after an interruption.

CREATE TABLE IF NOT EXISTS proxies (
    id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    protocol VARCHAR(10) NOT NULL,
    host VARCHAR(255) NOT NULL,
    port INTEGER NOT NULL,
    auth BOOLEAN NOT NULL DEFAULT FALSE,
    username VARCHAR(255),
    password VARCHAR(255),
    created_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    updated_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    INDEX idx_proxies_host_port (host, port)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS monitors (
    id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    type VARCHAR(20) NOT NULL,
    name VARCHAR(150) NOT NULL,
    `interval` INTEGER NOT NULL, -- seconds, like the next four
    timeout INTEGER NOT NULL,
    max_retries INTEGER NOT NULL,
    retry_interval INTEGER NOT NULL,
    resend_interval INTEGER NOT NULL,
    active BOOLEAN NOT NULL DEFAULT TRUE,
    status INTEGER NOT NULL DEFAULT 0, -- 0 down, 1 up, 2 pending, 3 maintenance
    created_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    updated_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    config JSON,
    proxy_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin,
    push_token VARCHAR(255),
    INDEX idx_monitors_active_status (active, status),
    INDEX idx_monitors_proxy_id (proxy_id),
    CONSTRAINT fk_monitors_proxy FOREIGN KEY (proxy_id) REFERENCES proxies (id) ON DELETE SET NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS maintenances (
    id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    title VARCHAR(255) NOT NULL,
    description TEXT,
    active BOOLEAN NOT NULL DEFAULT TRUE,
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
    created_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    updated_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    INDEX idx_maintenances_active (active)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS monitor_maintenances (
    id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    monitor_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    maintenance_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    updated_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    UNIQUE INDEX idx_monitor_maintenances_both (monitor_id, maintenance_id),
    INDEX idx_monitor_maintenances_maintenance_id (maintenance_id),
    CONSTRAINT fk_monitor_maintenances_monitor
        FOREIGN KEY (monitor_id) REFERENCES monitors (id) ON DELETE CASCADE,
    CONSTRAINT fk_monitor_maintenances_maintenance
        FOREIGN KEY (maintenance_id) REFERENCES maintenances (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS heartbeats (
    id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    monitor_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    status INTEGER NOT NULL, -- 0 down, 1 up, 2 pending, 3 maintenance
    msg MEDIUMTEXT,
    ping INTEGER,
    duration INTEGER,
    down_count INTEGER,
    retries INTEGER,
    important BOOLEAN NOT NULL DEFAULT FALSE,
    time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    end_time DATETIME(6),
    notified BOOLEAN NOT NULL DEFAULT FALSE,
    INDEX idx_heartbeats_monitor_time (monitor_id, time),
    INDEX idx_heartbeats_monitor_important (monitor_id, important),
    INDEX idx_heartbeats_monitor_time_important (monitor_id, time, important),
    INDEX idx_heartbeats_status (status),
    INDEX idx_heartbeats_important (important),
    CONSTRAINT fk_heartbeats_monitor FOREIGN KEY (monitor_id) REFERENCES monitors (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

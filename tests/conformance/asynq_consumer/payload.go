package main

import "time"

// payload has the fields and the Go types that Peekaping's worker decodes a task into.
type payload struct {
	MonitorID          string     `json:"monitor_id"`
	MonitorName        string     `json:"monitor_name"`
	MonitorType        string     `json:"monitor_type"`
	Interval           int        `json:"interval"`
	Timeout            int        `json:"timeout"`
	MaxRetries         int        `json:"max_retries"`
	RetryInterval      int        `json:"retry_interval"`
	ResendInterval     int        `json:"resend_interval"`
	Config             string     `json:"config"`
	Proxy              *proxy     `json:"proxy,omitempty"`
	LastHeartbeat      *heartbeat `json:"last_heartbeat,omitempty"`
	ScheduledAt        time.Time  `json:"scheduled_at"`
	IsUnderMaintenance bool       `json:"is_under_maintenance"`
	CheckCertExpiry    bool       `json:"check_cert_expiry"`
}

type proxy struct {
	ID       string `json:"id"`
	Protocol string `json:"protocol"`
	Host     string `json:"host"`
	Port     int    `json:"port"`
	Auth     bool   `json:"auth"`
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

type heartbeat struct {
	ID        string    `json:"id"`
	MonitorID string    `json:"monitor_id"`
	Status    int       `json:"status"`
	Msg       string    `json:"msg"`
	Ping      int       `json:"ping"`
	Duration  int       `json:"duration"`
	DownCount int       `json:"down_count"`
	Retries   int       `json:"retries"`
	Important bool      `json:"important"`
	Time      time.Time `json:"time"`
	EndTime   time.Time `json:"end_time"`
	Notified  bool      `json:"notified"`
}

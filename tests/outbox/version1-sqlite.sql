CREATE TABLE mdl_mb_zoho_event_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    event_type TEXT NOT NULL,
    event_data TEXT,
    status TEXT NOT NULL DEFAULT 'pending',
    retry_count INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    processed_at INTEGER,
    log_id INTEGER,
    user_id INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL,
    envelope TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at REAL,
    not_before REAL NOT NULL DEFAULT 0,
    leased_by TEXT,
    leased_until REAL
);
CREATE INDEX mdl_mb_zoho_event_log_due ON mdl_mb_zoho_event_log (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX mdl_mb_zoho_event_log_queue ON mdl_mb_zoho_event_log (user_id, occurred_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX mdl_mb_zoho_event_log_ended ON mdl_mb_zoho_event_log (status, event_type);
CREATE INDEX mdl_mb_zoho_event_log_log ON mdl_mb_zoho_event_log (log_id);
CREATE INDEX mdl_mb_zoho_event_log_user ON mdl_mb_zoho_event_log (user_id, occurred_at, id);
CREATE TABLE mdl_mb_zoho_event_attempt (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    duration_ms INTEGER,
    http_code INTEGER,
    outcome TEXT NOT NULL DEFAULT 'unknown',
    error TEXT
);
CREATE INDEX mdl_mb_zoho_event_attempt_event ON mdl_mb_zoho_event_attempt (event_id, attempt);
CREATE TABLE mdl_mb_zoho_sync_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sync_type TEXT NOT NULL DEFAULT '',
    sync_action TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT '',
    records_processed INTEGER DEFAULT 0,
    records_failed INTEGER DEFAULT 0,
    started_at INTEGER NOT NULL,
    completed_at INTEGER,
    error_message TEXT,
    triggered_by INTEGER
);
CREATE TABLE mdl_mb_zoho_config (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    config_key TEXT NOT NULL UNIQUE,
    config_value TEXT,
    is_encrypted INTEGER DEFAULT 0,
    updated_at INTEGER NOT NULL
);

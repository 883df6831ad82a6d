CREATE TABLE IF NOT EXISTS mdl_mb_zoho_event_log (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    event_id VARCHAR(64) NOT NULL,
    event_type VARCHAR(32) NOT NULL,
    event_data LONGTEXT,
    status VARCHAR(20) NOT NULL DEFAULT 'pending',
    retry_count INT NOT NULL DEFAULT 0,
    last_error MEDIUMTEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    processed_at BIGINT,
    log_id BIGINT,
    user_id BIGINT NOT NULL,
    occurred_at BIGINT NOT NULL,
    body LONGBLOB,
    attempts INT NOT NULL DEFAULT 0,
    due_at DOUBLE,
    not_before DOUBLE NOT NULL DEFAULT 0,
    leased_by VARCHAR(64),
    UNIQUE KEY event_id (event_id),
    KEY due (due_at, id),
    KEY queue (user_id, due_at),
    KEY ended (status, event_type),
    KEY log (log_id),
    KEY user (user_id, occurred_at, id),
    KEY leased (leased_by)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS mdl_mb_zoho_event_attempt (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    event_id VARCHAR(64) NOT NULL,
    attempt INT NOT NULL,
    started_at BIGINT NOT NULL,
    duration_ms BIGINT,
    http_code INT,
    outcome VARCHAR(20) NOT NULL DEFAULT 'unknown',
    error TEXT,
    KEY event (event_id, attempt)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS mdl_mb_zoho_sync_history (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    sync_type VARCHAR(50) NOT NULL DEFAULT '',
    sync_action VARCHAR(255) NOT NULL DEFAULT '',
    status VARCHAR(20) NOT NULL DEFAULT '',
    records_processed BIGINT DEFAULT 0,
    records_failed BIGINT DEFAULT 0,
    started_at BIGINT NOT NULL,
    completed_at BIGINT,
    error_message TEXT,
    triggered_by BIGINT) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS mdl_mb_zoho_lane (
    user_id BIGINT NOT NULL PRIMARY KEY,
    turn BIGINT NOT NULL DEFAULT 0) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS mdl_mb_zoho_lease (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    holder VARCHAR(255) NOT NULL,
    fence BIGINT NOT NULL DEFAULT 0,
    expires_at DOUBLE NOT NULL,
    beat BIGINT NOT NULL DEFAULT 0) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS mdl_mb_zoho_config (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    config_key VARCHAR(190) NOT NULL,
    config_value LONGTEXT,
    is_encrypted TINYINT DEFAULT 0,
    updated_at BIGINT NOT NULL,
    UNIQUE KEY config_key (config_key)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE SOURCE s (id BIGINT PRIMARY KEY, etag VARCHAR, at TIMESTAMP) WITH (event_time = 'at', version = 'etag');

CREATE SOURCE s (id BIGINT PRIMARY KEY, rev DOUBLE, at TIMESTAMP) WITH (event_time = 'at', version = 'rev');

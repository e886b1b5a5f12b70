CREATE SOURCE s (id BIGINT, at TIMESTAMP) WITH (event_time = 'at');

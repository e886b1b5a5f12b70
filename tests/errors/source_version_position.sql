CREATE SOURCE s (id BIGINT PRIMARY KEY, position BIGINT, at TIMESTAMP) WITH (event_time = 'at', version = 'position');

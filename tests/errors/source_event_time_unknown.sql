CREATE SOURCE s (id BIGINT PRIMARY KEY, departed_at TIMESTAMP) WITH (event_time = 'departed');

CREATE SOURCE s (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', history = 'all', history = '1 day');

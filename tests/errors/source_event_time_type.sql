CREATE SOURCE s (id BIGINT PRIMARY KEY, day DATE, seen TIMESTAMP) WITH (event_time = 'day');

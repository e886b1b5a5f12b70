CREATE SOURCE a (id BIGINT PRIMARY KEY, loaded_at TIMESTAMP, at TIMESTAMP) WITH (event_time = 'at', available_at = 'loadedat + INTERVAL ''5 minutes''');
CREATE SOURCE b (id BIGINT PRIMARY KEY, loaded_at TIMESTAMP, at TIMESTAMP) WITH (event_time = 'at', available_at = 'greatest(loadd_at, now())');
CREATE SOURCE c (id BIGINT PRIMARY KEY, loaded_at TIMESTAMP, at TIMESTAMP) WITH (event_time = 'at', available_at = 'max(loaded_at)');
CREATE SOURCE d (id BIGINT PRIMARY KEY, loaded_at TIMESTAMP, at TIMESTAMP) WITH (event_time = 'at', available_at = 'loaded_at +');
CREATE SOURCE e (id BIGINT PRIMARY KEY, loaded_at TIMESTAMP, at TIMESTAMP) WITH (event_time = 'at', available_at = 'loaded_at at');
CREATE SOURCE f (id BIGINT PRIMARY KEY, loaded_at TIMESTAMP, at TIMESTAMP) WITH (event_time = 'at', available_at = ' ');

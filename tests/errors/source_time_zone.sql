CREATE SOURCE a (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', time_zone = 'America/New_Yrok');
CREATE SOURCE b (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', time_zone = '+02:00');

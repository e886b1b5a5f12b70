CREATE SOURCE s (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', alowed_lateness = '6 hours', partitions = 3);

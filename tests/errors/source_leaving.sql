CREATE SOURCE a (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', applied_log = 'a while');
CREATE SOURCE b (id BIGINT PRIMARY KEY, at TIMESTAMP, _row BIGINT) WITH (event_time = 'at', applied_log = '30 days');
CREATE SOURCE c (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', stream = 'kafka://c?format=json', dead_letters = 'kafka://c');
CREATE SOURCE d (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', dead_letters = 'kafka://d-dlq?format=json');
CREATE SOURCE e (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', dead_letters = 's3://bucket/e.ndjson');
CREATE SOURCE f (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', dead_letters = 'dead/f.csv');

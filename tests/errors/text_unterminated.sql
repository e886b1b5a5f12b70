CREATE ENTITY customer (customer BIGINT);
CREATE SOURCE s (id BIGINT) WITH (event_time = 'at);

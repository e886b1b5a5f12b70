CREATE SOURCE s (id BIGINT, x DOUBLE, at TIMESTAMP, PRIMARY KEY (id, id, idd, x)) WITH (event_time = 'at');

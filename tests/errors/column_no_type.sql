CREATE SOURCE s (id, at TIMESTAMP, PRIMARY KEY (id)) WITH (event_time = 'at');

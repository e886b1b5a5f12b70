CREATE SOURCE s (id BIGINT PRIMARY KEY, revision BIGINT, at TIMESTAMP) WITH (event_time = 'at', version = 'revison');

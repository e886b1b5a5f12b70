CREATE SOURCE a (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', stream = 'kafka://broker:9092/departures');
CREATE SOURCE b (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', stream = 'kafka://departures?format=xml');
CREATE SOURCE c (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', stream = 'kafka://departures?fromat=json');
CREATE SOURCE d (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', stream = 'kafka://');

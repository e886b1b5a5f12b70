CREATE ENTITY airport (code VARCHAR);
CREATE SOURCE departures (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at');
CREATE SOURCE airport_load (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at');
CREATE SOURCE "Arrivals" (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at');

CREATE TABLE departures2 (id BIGINT);

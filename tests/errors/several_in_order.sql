CREATE ENTITY customer (customer DOUBLE);
CREATE SOURCE payments (id BIGINT, amount DOUBLE, at TIMESTAMP) WITH (event_tme = 'at');
CREATE FEATURE VIEW spend ENTITY customer AS SELECT amount FROM payments;
CREATE TABLE x (y INT);

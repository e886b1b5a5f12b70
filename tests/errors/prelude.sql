CREATE ENTITY airport (airport VARCHAR);
CREATE ENTITY plane (tailnum VARCHAR);
CREATE ENTITY model (model VARCHAR);
CREATE ENTITY route (origin VARCHAR, dest VARCHAR);

CREATE SOURCE departures (
  flight_id BIGINT, carrier VARCHAR, tailnum VARCHAR, origin VARCHAR, dest VARCHAR, distance DOUBLE,
  dep_delay DOUBLE, departed_at TIMESTAMP, PRIMARY KEY (flight_id)
) WITH (event_time = 'departed_at', allowed_lateness = '6 hours', history = 'all');

CREATE SOURCE arrivals (
  flight_id BIGINT, tailnum VARCHAR, dest VARCHAR, arr_delay DOUBLE, arrived_at TIMESTAMP, PRIMARY KEY (flight_id)
) WITH (event_time = 'arrived_at');

CREATE SOURCE models (tailnum VARCHAR PRIMARY KEY, model VARCHAR, seats INT, seen_at TIMESTAMP)
WITH (event_time = 'seen_at');

CREATE FEATURE VIEW airport_load ENTITY airport AS
SELECT origin AS airport, count(*) OVER h1 AS departures_1h, avg(dep_delay) OVER h1 AS avg_delay_1h
FROM departures
WINDOW h1 AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW plane_recent ENTITY plane AS
SELECT tailnum, max(departed_at) OVER w AS last_departed_at, count(*) OVER w AS departures_1d, last_value(origin) OVER w AS last_origin
FROM departures
WINDOW w AS (PARTITION BY tailnum ORDER BY departed_at RANGE BETWEEN INTERVAL '1 day' PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW plane_model ENTITY plane AS
SELECT tailnum, last_value(model) OVER w AS model, last_value(seats) OVER w AS seats
FROM models
WINDOW w AS (PARTITION BY tailnum ORDER BY seen_at RANGE UNBOUNDED PRECEDING);

CREATE FEATURE VIEW model_stats ENTITY model AS
SELECT model, count(*) OVER w AS planes, last_value(tailnum) OVER w AS example
FROM models
WINDOW w AS (PARTITION BY model ORDER BY seen_at RANGE UNBOUNDED PRECEDING);

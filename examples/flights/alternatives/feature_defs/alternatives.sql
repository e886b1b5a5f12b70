-- Which other flights could a passenger take? Those that fly the route, but for those that are cancelled, the most punctual first.
CREATE ENTITY route  (origin VARCHAR, dest VARCHAR);
CREATE ENTITY flight (flight VARCHAR);

CREATE SOURCE departures (
  flight_id BIGINT, carrier VARCHAR, flight_number INTEGER, origin VARCHAR, dest VARCHAR, departed_at TIMESTAMP, PRIMARY KEY (flight_id)
) WITH (event_time = 'departed_at', allowed_lateness = '6 hours', batch = '../data/departures.parquet');

CREATE SOURCE arrivals (
  flight_id BIGINT, carrier VARCHAR, flight_number INTEGER, arr_delay DOUBLE, departed_at TIMESTAMP, arrived_at TIMESTAMP, PRIMARY KEY (flight_id)
) WITH (event_time = 'departed_at', available_at = 'arrived_at', allowed_lateness = '24 hours', batch = '../data/arrivals.parquet');

CREATE SOURCE cancellations (
  flight_id BIGINT, carrier VARCHAR, flight_number INTEGER, scheduled_at TIMESTAMP, PRIMARY KEY (flight_id)
) WITH (event_time = 'scheduled_at', allowed_lateness = '6 hours', batch = '../data/cancellations.parquet');

-- The candidates of a route: flights that flew it in the last two days.
CREATE FEATURE VIEW route_flights ENTITY route WITH (limit = 500) AS
SELECT origin, dest, array_distinct(array_agg(concat(carrier, ' ', CAST(flight_number AS VARCHAR))) OVER d2) AS flights
FROM departures
WINDOW d2 AS (PARTITION BY origin, dest ORDER BY departed_at RANGE BETWEEN INTERVAL '2 days' PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW flight_delays ENTITY flight AS
SELECT concat(carrier, ' ', CAST(flight_number AS VARCHAR)) AS flight, avg(arr_delay) OVER last10 AS avg_delay_last_10
FROM arrivals
WINDOW last10 AS (PARTITION BY concat(carrier, ' ', CAST(flight_number AS VARCHAR)) ORDER BY departed_at ROWS BETWEEN 9 PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW flight_cancellations ENTITY flight AS
SELECT concat(carrier, ' ', CAST(flight_number AS VARCHAR)) AS flight, count(*) OVER d1 AS cancelled_1d
FROM cancellations
WINDOW d1 AS (PARTITION BY concat(carrier, ' ', CAST(flight_number AS VARCHAR)) ORDER BY scheduled_at RANGE BETWEEN INTERVAL '1 day' PRECEDING AND CURRENT ROW);

CREATE FEATURE SERVICE alternatives AS
SELECT i.flight, d.avg_delay_last_10 AS expected_delay
FROM REQUEST (origin VARCHAR, dest VARCHAR) r
LEFT JOIN route_flights t ON t.origin = r.origin AND t.dest = r.dest
CROSS JOIN UNNEST(t.flights) AS i(flight)
LEFT JOIN flight_delays d ON d.flight = i.flight
LEFT JOIN flight_cancellations c ON c.flight = i.flight
WHERE c.cancelled_1d = 0
ORDER BY expected_delay NULLS LAST LIMIT 4;

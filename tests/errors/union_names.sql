CREATE FEATURE VIEW v ENTITY airport AS
SELECT airport, count(*) OVER w AS movements
FROM (SELECT origin AS airport, departed_at AS at, dep_delay + 1 FROM departures UNION ALL SELECT dest, arrived_at, arr_delay FROM arrivals) u
WINDOW w AS (PARTITION BY airport ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW v ENTITY airport AS
SELECT airport, count(*) OVER w AS movements
FROM (SELECT origin AS airport, departed_at AS at FROM departures UNION ALL SELECT arrived_at, dest FROM arrivals) u
WINDOW w AS (PARTITION BY airport ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

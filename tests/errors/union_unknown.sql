CREATE FEATURE VIEW v ENTITY airport AS
SELECT airport, count(*) OVER w AS movements
FROM (SELECT orign AS airport, departed_at AS at FROM departures UNION ALL SELECT dest, arrived_at FROM arrival) u
WINDOW w AS (PARTITION BY airport ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

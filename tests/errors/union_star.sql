CREATE FEATURE VIEW v ENTITY airport AS
SELECT airport, count(*) OVER w AS movements
FROM (SELECT * FROM departures UNION ALL SELECT count(*) OVER (), arrived_at FROM arrivals) u
WINDOW w AS (PARTITION BY airport ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

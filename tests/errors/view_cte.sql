CREATE FEATURE VIEW v ENTITY airport AS
WITH late AS (SELECT * FROM departures WHERE dep_delay > 15)
SELECT origin AS airport, count(*) OVER w AS n
FROM late
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

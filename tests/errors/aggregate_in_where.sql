CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       count(*) FILTER (WHERE dep_delay > avg(dep_delay) OVER w) OVER w AS n
FROM departures
WHERE count(*) > 3
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

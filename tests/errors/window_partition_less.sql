CREATE FEATURE VIEW v ENTITY route AS
SELECT origin, upper(dest) AS dest, count(*) OVER w AS n
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE UNBOUNDED PRECEDING);

CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       count(*) OVER w AS n
FROM departures
WINDOW w AS (PARTITION BY origin, date_trunc('minute', departed_at) ORDER BY departed_at RANGE UNBOUNDED PRECEDING);

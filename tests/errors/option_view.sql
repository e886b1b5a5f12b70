CREATE FEATURE VIEW v ENTITY airport WITH (ttl = '0 seconds', max_staleness = '0 days', limit = '1000', min_coverage = 95, resolution = '1 year', tll = '1 day') AS
SELECT origin AS airport,
       count(*) OVER w AS n
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

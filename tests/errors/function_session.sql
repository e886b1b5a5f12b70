CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       max(to_timestamp(carrier)) OVER w AS a,
       max(CAST(carrier AS TIMESTAMP WITH TIME ZONE)) OVER w AS b
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

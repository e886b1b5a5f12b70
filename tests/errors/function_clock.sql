CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       max(now() - departed_at) OVER w AS idle,
       count(*) FILTER (WHERE departed_at > current_timestamp) OVER w AS n
FROM departures
WHERE departed_at::DATE <> current_date
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

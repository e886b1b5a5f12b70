CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       count(*) OVER w AS n
FROM departures
WINDOW w AS (ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

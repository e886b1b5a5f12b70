CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       max(CEIL(departed_at TO DAY)) OVER w AS a,
       max(dep_delay <=> 1) OVER w AS b,
       max(carrier.name.first) OVER w AS c,
       max(SAFE_CAST(carrier AS INT)) OVER w AS d,
       max(~flight_id) OVER w AS e
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       avg(dep_dely) OVER w AS a,
       max(d.dep_delay) OVER w AS b,
       min(departures.weather) OVER w AS c,
       min(a.b.c) OVER w AS d
FROM departures
WHERE distnce > 0
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

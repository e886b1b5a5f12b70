CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       max(regexp_mach(dest, 'x')) OVER w AS a,
       max(lowr(dest)) OVER w AS b,
       max(geo.distance(dest)) OVER w AS c
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

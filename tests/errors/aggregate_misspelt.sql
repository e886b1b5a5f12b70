CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       averag(dep_delay) OVER w AS a,
       cuont(*) OVER w AS b,
       geohash(origin) AS c,
       x.sum(dep_delay) OVER w AS d
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       sum(ln(distance)) OVER w AS a,
       exp(avg(dep_delay) OVER w) AS b,
       power(sum(distance) OVER w, 2) AS c,
       max(sin(distance)) OVER w AS d
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

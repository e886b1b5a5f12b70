CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       max(array_sum([dep_delay, distance])) OVER w AS a,
       max(array_transform([1], x -> x + 1)) OVER w AS b,
       max(struct(1, 2)) OVER w AS c,
       count(unnest([1])) OVER w AS d
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

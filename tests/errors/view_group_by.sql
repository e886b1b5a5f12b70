CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport, count(*) AS n
FROM departures
GROUP BY origin
HAVING count(*) > 10;

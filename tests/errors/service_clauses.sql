CREATE FEATURE SERVICE s AS
SELECT DISTINCT o.departures_1h
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r
LEFT JOIN airport_load o ON o.airport = r.origin
WHERE r.n > 0
GROUP BY 1
HAVING true
ORDER BY 1
LIMIT 3;

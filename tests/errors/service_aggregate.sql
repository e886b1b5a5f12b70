CREATE FEATURE SERVICE s AS
SELECT count(*) AS n, sum(r.n) OVER () AS s, (SELECT 1) AS t
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r
LEFT JOIN airport_load o ON o.airport = r.origin;

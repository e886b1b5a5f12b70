CREATE FEATURE SERVICE s AS
SELECT *
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r
LEFT JOIN airport_load o ON o.airport = r.origin
LEFT JOIN airport_load d ON d.airport = r.dest;

CREATE FEATURE SERVICE s AS
SELECT o.departures_1h
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r
JOIN airport_load o ON o.airport = r.origin
CROSS JOIN airport_load p
LEFT JOIN plane_recent q USING (tailnum)
NATURAL LEFT JOIN plane_recent s
RIGHT JOIN plane_recent t ON t.tailnum = r.tailnum;

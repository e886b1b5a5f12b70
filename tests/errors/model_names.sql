CREATE FEATURE SERVICE delay AS
SELECT o.departures_1h, o.avg_delay_1h, r.origin, r.distance, r.request_time AS at
FROM REQUEST (origin VARCHAR, distance DOUBLE) r LEFT JOIN airport_load o ON o.airport = r.origin;

CREATE MODEL a FROM 'a.onnx' USING dealy (x => (*)) PREDICT (y DOUBLE);
CREATE MODEL b FROM 'b.onnx' USING delay (x => (departures_1h, distnace, origin, origin)) PREDICT (y DOUBLE);
CREATE MODEL c FROM 'c.onnx' USING delay (x => (departures_1h), x => (distance)) PREDICT (y DOUBLE);
CREATE MODEL d FROM 'd.onnx' USING delay (x => (departures_1h)) PREDICT (y DOUBLE, Y BIGINT, y BOOLEAN, "Y" DOUBLE);
CREATE MODEL delay FROM 'e.onnx' USING delay (x => (departures_1h)) PREDICT (y DOUBLE);

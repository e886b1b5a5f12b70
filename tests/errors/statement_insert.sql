INSERT INTO departures VALUES (1);
